/** @import { RelayError } from '../services/messages.js' */

/** The relay's own remedy is for who writes messages, not for who reads a page. */
const RELOAD = 'Reload the page; if that does not help, compare the versions of page and relay.';

/** What the relay said before it closed the line, and what to do. @param {{ error: RelayError }} props */
export function Problem({ error }) {
  return (
    <p className="problem" role="alert" data-error={error.code}>
      {error.message} {error.code === 'bad_message' ? RELOAD : error.remedy}
    </p>
  );
}

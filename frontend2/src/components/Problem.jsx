import { RELOAD } from '../services/portfolioSocket.js';

/** @import { RelayError } from '../services/messages.js' */

/**
 * What the relay said before it closed the line, and what to do. Its own remedy for a message that it
 * cannot read is for who writes messages, not for who reads a page.
 * @param {{ error: RelayError }} props
 */
export function Problem({ error }) {
  return (
    <p className="problem" role="alert" data-error={error.code}>
      {error.message} {error.code === 'bad_message' ? RELOAD : error.remedy}
    </p>
  );
}

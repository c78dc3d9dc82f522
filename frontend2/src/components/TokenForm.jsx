import { useState } from 'react';
import { writeToken } from '../services/address.js';
import { usePortfolioStore } from '../stores/portfolioStore.js';
import { Problem } from './Problem.jsx';

/** @import { RelayError } from '../services/messages.js' */

/** @param {RelayError | null} error */
function titleOf(error) {
  if (error === null) return 'Open your accounts';
  return error.code === 'bad_message'
    ? 'The relay does not understand this page'
    : 'The relay refused this token';
}

/** Asks for a token where there is none, or where the relay refuses what it was told. */
export function TokenForm() {
  const [token, setToken] = useState('');
  const error = usePortfolioStore(({ connection }) =>
    connection.phase === 'refused' ? connection.error : null,
  );
  return (
    <section className="token" aria-labelledby="token-title">
      <h2 id="token-title">{titleOf(error)}</h2>
      {error && <Problem error={error} />}
      <p>
        The page needs a dashboard token. <code>tidemark token issue</code> makes one.
      </p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (token.trim()) writeToken(token);
        }}
      >
        <label htmlFor="token">Token</label>
        <div className="token-row">
          <input
            id="token"
            type="password"
            autoComplete="off"
            spellCheck={false}
            required
            value={token}
            onChange={(event) => setToken(event.target.value)}
          />
          <button type="submit">Connect</button>
        </div>
      </form>
      <p className="dim">It stays in this page’s address, behind the #, and goes to the relay only.</p>
    </section>
  );
}

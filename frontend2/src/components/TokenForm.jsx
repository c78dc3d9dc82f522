import { useState } from 'react';
import { writeToken } from '../services/address.js';
import { usePortfolioStore } from '../stores/portfolioStore.js';

/** Asks for a token where there is none, or where the relay refuses the one there is. */
export function TokenForm() {
  const [token, setToken] = useState('');
  const error = usePortfolioStore((store) => store.connection.error);
  const isRefused = usePortfolioStore((store) => store.connection.phase === 'refused');
  return (
    <section className="token" aria-labelledby="token-title">
      <h2 id="token-title">{isRefused ? 'The relay refused this token' : 'Open your accounts'}</h2>
      {isRefused && error && (
        <p className="problem" role="alert" data-error={error.code}>
          {error.message} {error.remedy}
        </p>
      )}
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

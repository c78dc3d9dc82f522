import { selectIsCurrent, usePortfolioStore } from '../stores/portfolioStore.js';
import { AccountDetail } from './AccountDetail.jsx';
import { AccountsTable } from './AccountsTable.jsx';
import { ConnectionState } from './ConnectionState.jsx';
import { Mark } from './Mark.jsx';
import { TokenForm } from './TokenForm.jsx';

export function App() {
  return (
    <div className="page">
      <header className="top">
        <h1>
          <Mark /> Tidemark
        </h1>
        <ConnectionState />
      </header>
      <Content />
    </div>
  );
}

function Content() {
  const phase = usePortfolioStore((store) => store.connection.phase);
  const error = usePortfolioStore((store) => store.connection.error);
  const isCurrent = usePortfolioStore(selectIsCurrent);
  const count = usePortfolioStore((store) => store.accountIds.length);
  const hasSnapshot = usePortfolioStore((store) => store.receivedAt !== null);
  if (phase === 'idle' || phase === 'refused') {
    return (
      <main className="alone">
        <TokenForm />
      </main>
    );
  }
  return (
    <main className={isCurrent ? 'desk' : 'desk outdated'}>
      {error && (
        <p className="problem" role="alert" data-error={error.code}>
          {error.message} {error.remedy}
        </p>
      )}
      {count > 0 ? (
        <>
          <div className="list">
            <AccountsTable />
          </div>
          <AccountDetail />
        </>
      ) : (
        <p className="nothing">
          {hasSnapshot
            ? 'This token opens no accounts. A token made with tidemark token issue names the accounts that it opens.'
            : 'Waiting for the first figures…'}
        </p>
      )}
    </main>
  );
}

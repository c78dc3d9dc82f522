import { selectIsCurrent, usePortfolioStore } from '../stores/portfolioStore.js';
import { AccountDetail } from './AccountDetail.jsx';
import { AcknowledgeContext } from './Acknowledgement.jsx';
import { AccountsTable } from './AccountsTable.jsx';
import { ConnectionState } from './ConnectionState.jsx';
import { Issues } from './Issues.jsx';
import { LatencyPanel } from './LatencyPanel.jsx';
import { Mark } from './Mark.jsx';
import { Missed } from './Missed.jsx';
import { Problem } from './Problem.jsx';
import { TokenForm } from './TokenForm.jsx';

/** @import { Latency } from '../stores/latency.js' */
/** @import { SendAcknowledgement } from './Acknowledgement.jsx' */
/** @import { RequestCurve } from './EquityCurve.jsx' */

/** @param {{ requestCurve: RequestCurve, acknowledge: SendAcknowledgement, latency: Latency }} props */
export function App({ requestCurve, acknowledge, latency }) {
  return (
    <div className="page">
      <header className="top">
        <h1>
          <Mark /> Tidemark
        </h1>
        <div className="line">
          <LatencyPanel latency={latency} />
          <ConnectionState />
        </div>
      </header>
      <AcknowledgeContext value={acknowledge}>
        <Content requestCurve={requestCurve} />
      </AcknowledgeContext>
    </div>
  );
}

/** @param {{ requestCurve: RequestCurve }} props */
function Content({ requestCurve }) {
  const phase = usePortfolioStore((store) => store.connection.phase);
  const error = usePortfolioStore((store) => store.connection.error);
  const isCurrent = usePortfolioStore(selectIsCurrent);
  const count = usePortfolioStore((store) => store.accountIds.length);
  const isSynced = usePortfolioStore((store) => store.isSynced);
  // A page that the relay no longer understands has to be reloaded: what it shows stays until then.
  const keepsFigures = error?.code === 'bad_message' && count > 0;
  if (phase === 'idle' || (phase === 'refused' && !keepsFigures)) {
    return (
      <main className="alone">
        <TokenForm />
      </main>
    );
  }
  return (
    <main className={isCurrent ? 'desk' : 'desk outdated'}>
      <div className="notices">
        {error && <Problem error={error} />}
        <Missed />
        <Issues />
      </div>
      {count > 0 ? (
        <>
          <div className="list">
            <AccountsTable />
          </div>
          <AccountDetail requestCurve={requestCurve} />
        </>
      ) : (
        <p className="nothing">
          {isSynced
            ? 'This token opens no accounts. A token made with tidemark token issue names the accounts that it opens.'
            : 'Waiting for the first figures…'}
        </p>
      )}
    </main>
  );
}

import { createRoot } from 'react-dom/client';
import { flushSync } from 'react-dom';
import { App } from './components/App.jsx';
import { createPortfolioSocket } from './services/portfolioSocket.js';
import { followToken } from './services/token.js';
import { createInbox } from './stores/inbox.js';
import { usePortfolioStore } from './stores/portfolioStore.js';

const { receive, setConnection, forget } = usePortfolioStore.getState();

const accept = createInbox({
  deliver: (messages) => receive(messages, Date.now()),
  paintNow: (run) => flushSync(run),
});

/** @type {ReturnType<typeof createPortfolioSocket> | null} */
let socket = null;

followToken((token) => {
  socket?.stop();
  socket = null;
  forget();
  if (token === null) return;
  const url = new URL('ws', window.location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  url.hash = '';
  socket = createPortfolioSocket({
    url: url.href,
    token,
    onMessage: accept,
    onConnection: setConnection,
  });
  socket.start();
});

usePortfolioStore.subscribe((state, before) => {
  if (state.wantsResync && !before.wantsResync) socket?.resync();
});
window.addEventListener('online', () => socket?.retryNow());

const root = document.getElementById('root');
if (!root) throw new Error('index.html has no #root');
createRoot(root).render(<App />);

import { createContext, useContext, useEffect, useId, useRef, useState } from 'react';
import { formatFull, formatInstant } from '../format.js';
import { MAX_NOTE } from '../services/messages.js';
import { usePortfolioStore } from '../stores/portfolioStore.js';

/** @import { Discrepancy } from '../services/messages.js' */
/** @import { AcknowledgeError, PortfolioSocket } from '../services/portfolioSocket.js' */

/** @typedef {PortfolioSocket['acknowledge']} SendAcknowledgement */

/** How a discrepancy is acknowledged; the page's outermost component says it. */
export const AcknowledgeContext = createContext(
  /** @type {SendAcknowledgement} */ (() => Promise.reject(new Error('nobody acknowledges here'))),
);

/**
 * Who looks after a discrepancy, since when, and their note; or, where nobody does and the token
 * allows it, a button that says it.
 * @param {{ discrepancy: Discrepancy }} props
 */
export function Acknowledgement({ discrepancy }) {
  const { status, acknowledged_at: at, acknowledged_by: by, note } = discrepancy;
  const mayAcknowledge = usePortfolioStore((store) => store.mayAcknowledge);
  const [isOpen, setIsOpen] = useState(false);
  const told = useRef(/** @type {HTMLElement | null} */ (null));
  const isAcknowledged = at !== null;
  useEffect(() => {
    // The form that had the focus is gone: what became of it has it then.
    if (isAcknowledged && isOpen) told.current?.focus();
  }, [isAcknowledged, isOpen]);
  if (at !== null) {
    return (
      <span className="acknowledged" ref={told} tabIndex={-1} data-acknowledged-by={by ?? ''}>
        acknowledged by {by},{' '}
        <time dateTime={at} title={formatFull(at)}>
          {formatInstant(at)}
        </time>
        {note && <q>{note}</q>}
      </span>
    );
  }
  if (status !== 'open' || !mayAcknowledge) return null;
  return <Form discrepancy={discrepancy} isOpen={isOpen} setIsOpen={setIsOpen} />;
}

/**
 * @param {object} props
 * @param {Discrepancy} props.discrepancy
 * @param {boolean} props.isOpen
 * @param {(isOpen: boolean) => void} props.setIsOpen
 */
function Form({ discrepancy: { discrepancy_id: id, message }, isOpen, setIsOpen }) {
  const acknowledge = useContext(AcknowledgeContext);
  const [note, setNote] = useState('');
  const [isSending, setIsSending] = useState(false);
  const [error, setError] = useState(/** @type {AcknowledgeError | null} */ (null));
  const formId = useId();
  const button = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const close = () => {
    setIsOpen(false);
    setError(null);
    button.current?.focus();
  };
  const send = async () => {
    setIsSending(true);
    setError(null);
    try {
      await acknowledge(id, note.trim() || null);
    } catch (problem) {
      setError(/** @type {AcknowledgeError} */ (problem));
    }
    setIsSending(false);
  };
  return (
    <>
      <button
        ref={button}
        type="button"
        className="quiet"
        aria-expanded={isOpen}
        aria-controls={isOpen ? formId : undefined}
        aria-label={`Acknowledge: ${message}`}
        data-acknowledge={id}
        onClick={() => (isOpen ? close() : setIsOpen(true))}
      >
        Acknowledge
      </button>
      {isOpen && (
        <form
          id={formId}
          className="acknowledge"
          aria-label="Acknowledge this discrepancy"
          aria-busy={isSending}
          onSubmit={(event) => {
            event.preventDefault();
            if (!isSending) send();
          }}
          onKeyDown={(event) => {
            if (event.key === 'Escape') close();
          }}
        >
          <input
            ref={focusOnce}
            aria-label="Note, for all who see this account"
            placeholder="Note (optional)"
            maxLength={MAX_NOTE}
            autoComplete="off"
            value={note}
            onChange={(event) => setNote(event.target.value)}
          />
          <button type="submit" aria-disabled={isSending}>
            {isSending ? 'Sending…' : 'I look after it'}
          </button>
          <button type="button" className="quiet" onClick={close}>
            Cancel
          </button>
          {error && (
            <p className="problem" role="alert" data-refused={error.code}>
              {error.message} {error.remedy}
            </p>
          )}
        </form>
      )}
    </>
  );
}

/** @param {HTMLInputElement | null} input */
const focusOnce = (input) => input?.focus();

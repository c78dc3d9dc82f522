import { useEffect, useState } from 'react';

/**
 * The time, renewed every `every` milliseconds.
 * @param {number} every
 */
export function useNow(every) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

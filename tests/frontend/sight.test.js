// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

describe('figures', () => {
  /** @type {(isIntersecting: boolean) => void} */
  let see;
  /** @type {string[]} */
  let written;
  /** @type {(...values: string[]) => void} */
  let write;

  const open = async () => {
    vi.resetModules();
    const { writeWhenSeen } = await import('#page/components/sight.js');
    written = [];
    write = writeWhenSeen(document.body, (...values) => void written.push(values.join(' ')));
  };

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal(
      'IntersectionObserver',
      class {
        /** @param {(entries: any[]) => void} tell */
        constructor(tell) {
          this.tell = tell;
        }
        /** @param {Element} target */
        observe(target) {
          see = (isIntersecting) => this.tell([{ target, isIntersecting }]);
        }
      },
    );
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  test('are written as they come until it is known whether they are in sight, and while they are', async () => {
    await open();
    write('1', 'EUR');
    write('2', 'EUR');
    see(true);
    write('3', 'EUR');
    expect(written).toEqual(['1 EUR', '2 EUR', '3 EUR']);
    vi.advanceTimersByTime(5000);
    expect(written).toHaveLength(3);
  });

  test('are written once a second while they are out of sight, the last of them', async () => {
    await open();
    see(false);
    for (let value = 1; value <= 25; value += 1) {
      write(String(value));
      vi.advanceTimersByTime(100);
    }
    expect(written).toEqual(['10', '20']);
    vi.advanceTimersByTime(1000);
    expect(written).toEqual(['10', '20', '25']);
    vi.advanceTimersByTime(5000);
    expect(written).toHaveLength(3);
  });

  test('are written at once when they come into sight, and not again later', async () => {
    await open();
    see(false);
    write('1');
    write('2');
    expect(written).toEqual([]);
    see(true);
    expect(written).toEqual(['2']);
    see(false);
    see(true);
    vi.advanceTimersByTime(5000);
    expect(written).toEqual(['2']);
  });

  test('are written as they come where a browser cannot tell what is in sight', async () => {
    vi.stubGlobal('IntersectionObserver', undefined);
    await open();
    write('1');
    write('2');
    expect(written).toEqual(['1', '2']);
  });
});

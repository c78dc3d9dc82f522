import { fileURLToPath } from 'node:url';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const tests = here('../tests/frontend');

/**
 * The tests live in tests/frontend, outside of this package; what they import by name is found
 * here, where it is installed.
 * @returns {import('vite').Plugin}
 */
function packagesForTests() {
  return {
    name: 'packages-for-tests',
    enforce: 'pre',
    resolveId(source, importer) {
      const isPackage = !source.startsWith('.') && !source.startsWith('/');
      if (isPackage && importer?.startsWith(tests)) {
        return this.resolve(source, here('src/main.jsx'), { skipSelf: true });
      }
      return null;
    },
  };
}

export default defineConfig({
  // Relative addresses: the page also works below a path of someone's reverse proxy.
  base: './',
  plugins: [packagesForTests(), react()],
  resolve: { alias: { '#page': here('src') } },
  build: {
    // The first browsers with light-dark(), so that it reaches them as written.
    target: ['chrome123', 'firefox121', 'safari17.5'],
    // No data: addresses, so that the page can be served under a strict content policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    fs: { allow: [here('..')] },
    proxy: { '/ws': { target: 'http://127.0.0.1:8017', ws: true } },
  },
  test: {
    dir: tests,
    include: ['**/*.test.{js,jsx}'],
    restoreMocks: true,
  },
});

/** The high-water line over a falling tide. */
export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 24 24" aria-hidden="true">
      <rect className="mark-ground" width="24" height="24" rx="5" />
      <path className="mark-line" d="M4 7.5h16" />
      <path className="mark-wave" d="M4 13.5q2-2.6 4 0t4 0 4 0 4 0" />
      <path className="mark-ebb" d="M4 18q2-2.6 4 0t4 0 4 0 4 0" />
    </svg>
  );
}

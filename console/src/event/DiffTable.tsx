import type { DiffRow } from "./payload";
import { SafeText } from "./SafeText";

/** What differs between two payloads, path by path. */
export function DiffTable({ rows, before, after }: { rows: readonly DiffRow[]; before: string; after: string }) {
  if (rows.length === 0) return null;
  return (
    <table className="diff">
      <thead>
        <tr>
          <th>Path</th>
          <th>{before}</th>
          <th>{after}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={`${row.path} ${row.change}`} className={row.change}>
            <td>
              <SafeText text={row.path} />
              <span className="visually-hidden">{row.change}</span>
            </td>
            <td>{row.before !== null && <SafeText text={row.before} />}</td>
            <td>{row.after !== null && <SafeText text={row.after} />}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

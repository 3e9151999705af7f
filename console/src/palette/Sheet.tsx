import { Modal } from "../common/Modal";
import { setPreferences, usePreferences } from "../common/preferences";
import { useShortcutGroups } from "../common/shortcuts";
import { capsOf } from "./caps";
import { open } from "./open";
import "./palette.css";

/** The shortcuts in force on this screen. */
export function Sheet() {
  const groups = useShortcutGroups();
  const { shortcuts } = usePreferences();
  const mac = /Mac|iPhone|iPad/.test(navigator.platform);
  return (
    <Modal title="Keyboard shortcuts" onClose={() => open(null)}>
      <div className="sheet">
        {byTitle(groups).map(([title, shortcuts]) => (
          <section key={title}>
            <h3>{title}</h3>
            <dl>
              {byWords(shortcuts).map(([does, keys]) => (
                <div key={does} style={{ display: "contents" }}>
                  <dt>
                    {keys.map((each, at) => (
                      <span key={each} className="fx g1">
                        {at > 0 && <span className="t3 xs">or</span>}
                        {capsOf(each, mac).map((cap) => (
                          <kbd key={cap}>{cap}</kbd>
                        ))}
                      </span>
                    ))}
                  </dt>
                  <dd>{does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <label className="fx g2">
        <input type="checkbox" checked={shortcuts} onChange={(event) => setPreferences({ shortcuts: event.target.checked })} />
        Shortcuts are on. {mac ? "⌘K and ⌘/" : "Ctrl K and Ctrl /"} work always.
      </label>
    </Modal>
  );
}

type Shortcuts = readonly { keys: string; does: string }[];

/** The shortcuts by the title of their group: parts of a screen add to one group. */
function byTitle(groups: readonly { title: string; shortcuts: Shortcuts }[]): [string, Shortcuts][] {
  const merged = new Map<string, Shortcuts>();
  for (const { title, shortcuts } of groups) if (shortcuts.length > 0) merged.set(title, [...(merged.get(title) ?? []), ...shortcuts]);
  return [...merged];
}

/** The shortcuts by what they do: two keys for the same are one line. "Shift+/" only helps layouts where "/" needs Shift. */
function byWords(shortcuts: Shortcuts): [string, string[]][] {
  const lines = new Map<string, string[]>();
  for (const { keys, does } of shortcuts) {
    if (keys === "Shift+/") continue;
    lines.set(does, [...(lines.get(does) ?? []), keys]);
  }
  return [...lines];
}

/** The caps of a key in tinykeys' notation: "$mod+k" is ⌘ K on a Mac, "g e" is g then e, "Shift+?" is just ?. Pure. */
export function capsOf(keys: string, mac: boolean): string[] {
  return keys.split(" ").flatMap((press) => {
    const parts = press.split(/\b\+/);
    const key = parts.pop() ?? "";
    // A character that needs Shift says so itself.
    const modifiers = parts.filter((part) => !(part === "Shift" && key.length === 1 && key.toUpperCase() === key.toLowerCase()));
    return [...modifiers.map((part) => (part === "$mod" ? (mac ? "⌘" : "Ctrl") : part === "Shift" ? "⇧" : part)), NAMES[key] ?? key];
  });
}

const NAMES: Record<string, string> = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  Escape: "Esc",
  Enter: "↵",
};

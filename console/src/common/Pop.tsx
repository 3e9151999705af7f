import { useId, useRef, type ReactNode, type ToggleEvent } from "react";

/** A button that opens a panel below it. The browser's popover brings the top layer, Esc and the click outside. */
export function Pop({ label, name, className = "btn o", says, onOpen, children }: {
  label: ReactNode;
  /** What the panel is called. */
  name: string;
  className?: string;
  /** What the button says, where its label may be hidden. */
  says?: string;
  onOpen?: () => void;
  /** The panel's content, given what closes it. */
  children: (close: () => void) => ReactNode;
}) {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDivElement>(null);
  function place() {
    const at = button.current?.getBoundingClientRect();
    const box = panel.current;
    if (!at || !box) return;
    box.style.top = `${at.bottom + 4}px`;
    const width = box.offsetWidth || 216;
    box.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  }
  function toggled(event: ToggleEvent<HTMLDivElement>) {
    place();
    if (event.newState === "open") onOpen?.();
  }
  return (
    <>
      <button type="button" ref={button} className={className} popoverTarget={id} aria-label={says}>
        {label}
      </button>
      <div id={id} ref={panel} popover="auto" className="pop" role="group" aria-label={name} onToggle={toggled} onBeforeToggle={place}>
        {children(() => panel.current?.hidePopover())}
      </div>
    </>
  );
}

import { useEffect, useId, useRef, type ReactNode } from "react";
import { Icon } from "./icons";

/** A modal dialog: the browser keeps the focus inside, closes it on Esc and gives the focus back. */
export function Modal({ title, onClose, children, plain = false }: {
  title: string;
  onClose: () => void;
  children: ReactNode;
  /** Without the visible heading and the button that closes it. */
  plain?: boolean;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    if (element && !element.open) {
      element.showModal();
      // The first field, rather than the button that closes.
      element.querySelector<HTMLElement>("input, select, textarea")?.focus();
    }
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      role="dialog"
      aria-modal="true"
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === dialog.current) onClose();
      }}
    >
      <div className={plain ? "visually-hidden" : "dh"}>
        <h2 id={id}>{title}</h2>
        {!plain && (
          <button type="button" className="btn sq" aria-label="Close" onClick={onClose}>
            <Icon name="close" />
          </button>
        )}
      </div>
      {plain ? children : <div className="db">{children}</div>}
    </dialog>
  );
}

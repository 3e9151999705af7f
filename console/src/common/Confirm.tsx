import { useMutation } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { Failed } from "./Failed";
import { Modal } from "./Modal";

/** A button for what cannot be undone: it asks first. */
export function Confirm({ label, title, children, action, run, className = "btn danger" }: {
  label: ReactNode;
  title: string;
  /** What will happen. */
  children: ReactNode;
  /** The button that does it. */
  action: string;
  run: () => Promise<unknown>;
  className?: string;
}) {
  const [asking, setAsking] = useState(false);
  const doing = useMutation({ mutationFn: run, onSuccess: () => setAsking(false) });
  return (
    <>
      <button type="button" className={className} onClick={() => setAsking(true)}>
        {label}
      </button>
      {asking && (
        <Modal title={title} onClose={() => setAsking(false)}>
          <div className="confirm stack">
            <div className="t2">{children}</div>
            <Failed error={doing.error} />
            <div className="fx g2">
              <button type="button" className="btn p" disabled={doing.isPending} onClick={() => doing.mutate()}>
                {action}
              </button>
              <button type="button" className="btn" onClick={() => setAsking(false)}>
                Cancel
              </button>
            </div>
          </div>
        </Modal>
      )}
    </>
  );
}

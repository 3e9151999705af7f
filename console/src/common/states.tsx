import { useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ApiError } from "../api/client";
import { Icon } from "./icons";

/** An answer that is an error: what, why, the request's id, and one action. */
export function ErrorState({ error, retry }: { error: unknown; retry?: () => void }) {
  const client = useQueryClient();
  const known = error instanceof ApiError ? error : null;
  return (
    <div className="state" role="alert">
      <p className="fx g2 b">
        <Icon name="warning" />
        {known?.status === 403 ? "This credential may not see this." : "This could not be loaded."}
      </p>
      <p className="t2">{error instanceof Error ? error.message : "Something unexpected happened."}</p>
      {known?.requestId && <p className="t3 xs mono">Request {known.requestId}</p>}
      <p>
        <button className="btn o" onClick={retry ?? (() => void client.refetchQueries({ type: "active" }))}>
          Try again
        </button>
      </p>
    </div>
  );
}

/** Still bars in the place of rows that are on their way. */
export function Loading({ rows = 6 }: { rows?: number }) {
  return (
    <div className="loading" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, index) => (
        <i key={index} />
      ))}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="state">
      <p className="b">{title}</p>
      {children}
    </div>
  );
}

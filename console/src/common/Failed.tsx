import { ApiError } from "../api/client";
import { Icon } from "./icons";

/** What was wrong with one field of a form, by the server's answer. */
export function FieldError({ error, name }: { error: unknown; name: string }) {
  if (!(error instanceof ApiError)) return null;
  return error.problems
    .filter(({ loc }) => loc.includes(name))
    .map(({ msg }) => (
      <p key={msg} className="wrong" role="alert">
        {msg}
      </p>
    ));
}

/** The sentence of an error beside the control that caused it. What stands at a field already is not said again. */
export function Failed({ error, fields = [] }: { error: unknown; fields?: readonly string[] }) {
  if (!error) return null;
  const sentences =
    error instanceof ApiError && error.problems.length > 0
      ? error.problems.filter(({ loc }) => !fields.some((name) => loc.includes(name))).map(({ msg }) => msg)
      : [error instanceof Error ? error.message : "Something unexpected happened."];
  if (sentences.length === 0) return null;
  return (
    <div className="failed" role="alert">
      <Icon name="warning" small />
      <span>{sentences.join(" ")}</span>
    </div>
  );
}

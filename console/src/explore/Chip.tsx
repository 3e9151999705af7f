import type { KeyboardEvent } from "react";
import { Icon } from "../common/icons";
import { nearestName, type Term } from "./terms";
import { visible } from "../common/visible";

interface Props {
  term: Term;
  isWrong: boolean;
  onRemove: () => void;
  onEdit: () => void;
  onInvert: () => void;
  /** To the chip at the left (-1) or right (1). */
  onMove: (step: number) => void;
}

/** A term of the query. Enter edits it, Delete drops it, and - excludes what it asks for, or asks for it again. */
export function Chip({ term, isWrong, onRemove, onEdit, onInvert, onMove }: Props) {
  const name = `${term.isExcluded ? "−" : ""}${term.name}${term.name ? ":" : ""}`;
  const nearest = isWrong && term.name ? nearestName(term.name) : null;
  const onKeyDown = (event: KeyboardEvent) => {
    const act = {
      Enter: onEdit,
      Backspace: onRemove,
      Delete: onRemove,
      "-": onInvert,
      ArrowLeft: () => onMove(-1),
      ArrowRight: () => onMove(1),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };
  return (
    <span
      className={`chip${term.isExcluded ? " not" : ""}${isWrong ? " wrong" : ""}`}
      role="group"
      tabIndex={-1}
      aria-label={`${term.isExcluded ? "not " : ""}${term.name} ${term.value}`}
      title={nearest ? `Did you mean ${nearest}:?` : "Click to edit, Alt-click to exclude"}
      onClick={(event) => (event.altKey ? onInvert() : onEdit())}
      onKeyDown={onKeyDown}
    >
      <i>{name}</i>
      <bdi className="chip-value">{term.isExcluded ? <em>{visible(term.value)}</em> : visible(term.value)}</bdi>
      <button
        type="button"
        tabIndex={-1}
        aria-label={`Drop ${term.name} ${term.value}`}
        onClick={(event) => (event.stopPropagation(), onRemove())}
      >
        <Icon name="close" small />
      </button>
    </span>
  );
}

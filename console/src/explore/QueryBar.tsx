import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useId, useRef, useState, type KeyboardEvent } from "react";
import { ApiError } from "../api/client";
import { Icon } from "../common/icons";
import { useShortcuts } from "../common/shortcuts";
import { grouped } from "../common/times";
import { findText, suggestOptions, type Match, type Suggestion } from "./answers";
import { Chip } from "./Chip";
import { invertedAt, nearestName, scanTerms, termText, tidy, withTerm, withoutTermAt } from "./terms";

interface Props {
  q: string;
  onChange: (q: string) => void;
  /** The server's word about a wrong query. */
  error: unknown;
  placeholder?: string;
}

/** The query: a chip for each term, and a field with completion for the next one. */
export function QueryBar({ q, onChange, error, placeholder = "Filter events" }: Props) {
  const [draft, setDraft] = useState("");
  const [isOpen, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const input = useRef<HTMLInputElement>(null);
  const bar = useRef<HTMLDivElement>(null);
  const listId = useId();
  const navigate = useNavigate();
  const terms = scanTerms(q);
  const base = q ? `${q} ` : "";
  const suggestions = useSuggestions(base, draft, isOpen);
  const wrong = wrongTerm(error);
  const mended = wrong ? mendedQuery(q, wrong.index) : null;

  useShortcuts("Explore", [{ keys: "/", does: "Write a query", run: (event) => (event.preventDefault(), input.current?.focus()) }]);
  useEffect(() => setActive(-1), [draft]);

  const commit = (text: string) => {
    setDraft("");
    onChange(tidy(text));
  };
  const choose = (suggestion: Suggestion) => {
    const whole = base + draft;
    const next = whole.slice(0, suggestion.start) + suggestion.insert + whole.slice(suggestion.end);
    if (suggestion.insert.endsWith(":")) setDraft(next.slice(base.length));
    else commit(next);
    input.current?.focus();
  };
  const enter = async () => {
    const chosen = suggestions[active];
    if (chosen) return choose(chosen);
    if (draft.trim() === "") return;
    const match = scanTerms(draft).some((term) => term.name !== "") ? undefined : await findText(draft.trim()).catch(() => undefined);
    if (match?.kind === "event" && match.id) return void navigate({ to: "/e/$eventId", params: { eventId: match.id } });
    commit(match ? termOf(q, match) : base + draft);
  };
  const focusChip = (index: number) => bar.current?.querySelectorAll<HTMLElement>(".chip")[index]?.focus();
  const edit = (index: number) => {
    const term = terms[index];
    if (!term) return;
    setDraft(q.slice(term.start, term.end));
    onChange(withoutTermAt(q, index));
    input.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent<HTMLInputElement>) => {
    const atStart = input.current?.selectionStart === 0 && input.current.selectionEnd === 0;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      setOpen(true);
      const step = event.key === "ArrowDown" ? 1 : -1;
      setActive((at) => (suggestions.length === 0 ? -1 : (at + step + (at < 0 && step < 0 ? 1 : 0) + suggestions.length) % suggestions.length));
    } else if (event.key === "Enter") {
      event.preventDefault();
      void enter();
    } else if (event.key === "Tab" && isOpen && suggestions[active]) {
      event.preventDefault();
      choose(suggestions[active]);
    } else if (event.key === "Escape") {
      if (isOpen && suggestions.length > 0) setOpen(false);
      else input.current?.blur();
    } else if (event.key === "Backspace" && draft === "" && terms.length > 0) {
      event.preventDefault();
      edit(terms.length - 1);
    } else if (event.key === "ArrowLeft" && atStart && terms.length > 0) {
      event.preventDefault();
      focusChip(terms.length - 1);
    }
  };
  const isListed = isOpen && suggestions.length > 0;
  return (
    <div className="query-place">
      <div className="query" ref={bar} onClick={(event) => event.target === event.currentTarget && input.current?.focus()}>
        <Icon name="search" />
        {terms.map((term, index) => (
          <Chip
            key={q.slice(term.start, term.end) + String(index)}
            term={term}
            isWrong={wrong?.index === index}
            onRemove={() => (onChange(withoutTermAt(q, index)), input.current?.focus())}
            onEdit={() => edit(index)}
            onInvert={() => onChange(invertedAt(q, index))}
            onMove={(step) => (index + step >= terms.length ? input.current?.focus() : focusChip(index + step))}
          />
        ))}
        <input
          ref={input}
          role="combobox"
          aria-label="Query"
          aria-expanded={isListed}
          aria-controls={listId}
          aria-autocomplete="list"
          aria-activedescendant={isListed && active >= 0 ? `${listId}-${active}` : undefined}
          aria-invalid={wrong !== null}
          aria-describedby={wrong ? `${listId}-wrong` : undefined}
          autoComplete="off"
          autoCapitalize="off"
          spellCheck={false}
          placeholder={terms.length === 0 ? placeholder : ""}
          value={draft}
          onChange={(event) => (setDraft(event.target.value), setOpen(true))}
          onFocus={() => setOpen(true)}
          onBlur={() => setOpen(false)}
          onKeyDown={onKeyDown}
        />
        <kbd aria-hidden="true">/</kbd>
      </div>
      {isListed && <Suggestions id={listId} suggestions={suggestions} active={active} draft={draft} onChoose={choose} />}
      {wrong && (
        <p className="query-wrong" id={`${listId}-wrong`} role="alert">
          {wrong.message}
          {mended && (
            <>
              {" "}
              Try{" "}
              <button className="mono" onClick={() => onChange(mended.q)}>
                {mended.name}
              </button>
            </>
          )}
        </p>
      )}
    </div>
  );
}

function useSuggestions(base: string, draft: string, isOpen: boolean): Suggestion[] {
  const [asked, setAsked] = useState({ base, draft });
  useEffect(() => {
    const timer = setTimeout(() => setAsked({ base, draft }), 80);
    return () => clearTimeout(timer);
  }, [base, draft]);
  const whole = asked.base + asked.draft;
  const { data } = useQuery({ ...suggestOptions(whole, whole.length), enabled: isOpen });
  return isOpen && asked.base === base ? (data ?? []) : [];
}

function Suggestions(props: { id: string; suggestions: Suggestion[]; active: number; draft: string; onChoose: (one: Suggestion) => void }) {
  const { id, suggestions, active, draft, onChoose } = props;
  const sought = draft.slice(draft.lastIndexOf(":") + 1).replace(/^-/, "");
  return (
    <div className="menu suggestions" id={id} role="listbox" aria-label="Completions">
      {suggestions.map((suggestion, index) => (
        <div
          key={suggestion.insert}
          id={`${id}-${index}`}
          role="option"
          aria-selected={index === active}
          className={index === active ? "h" : ""}
          onMouseDown={(event) => (event.preventDefault(), onChoose(suggestion))}
        >
          <span className="mono xs cut">
            <Found text={suggestion.label} sought={sought} />
          </span>
          {suggestion.count !== null && <span className="xs t3 count">{grouped(suggestion.count)}</span>}
        </div>
      ))}
    </div>
  );
}

/** A text in which what was typed is bold. */
function Found({ text, sought }: { text: string; sought: string }) {
  const at = sought === "" ? -1 : text.toLowerCase().indexOf(sought.toLowerCase());
  if (at < 0) return <bdi>{text}</bdi>;
  return (
    <bdi>
      {text.slice(0, at)}
      <b>{text.slice(at, at + sought.length)}</b>
      {text.slice(at + sought.length)}
    </bdi>
  );
}

/** Which term of the query is wrong, and why, if that is what the error says. */
export function wrongTerm(error: unknown): { index: number; message: string } | null {
  if (!(error instanceof ApiError) || error.status !== 422) return null;
  const problem = error.problems.find(({ loc }) => loc[1] === "q");
  if (!problem) return null;
  return { index: typeof problem.loc[2] === "number" ? problem.loc[2] : -1, message: problem.msg };
}

/** The query with the nearest name that is known in place of a wrong one, if there is one. */
function mendedQuery(q: string, index: number): { q: string; name: string } | null {
  const term = scanTerms(q)[index];
  const name = term?.name ? nearestName(term.name) : null;
  if (!term || name === null || name === term.name) return null;
  return { q: q.slice(0, term.start) + termText({ ...term, name }) + q.slice(term.end), name };
}

function termOf(q: string, match: Match): string {
  if (match.kind === "flow") return withTerm(q, "flow", match.correlationId ?? "");
  if (match.kind === "resource") return withTerm(q, "resource", `${match.resourceType}/${match.resourceId}`);
  return withTerm(q, "actor", `${match.actorType}/${match.actorId}`);
}

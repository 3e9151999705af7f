/** How outcomes and actors are drawn, everywhere the same: a shape and a word, never colour alone. */
import { visible } from "./visible";

export type Outcome = "success" | "failure" | "none";

const OUTCOME_WORDS: Record<Outcome, string> = { success: "succeeded", failure: "failed", none: "no outcome" };

export function asOutcome(text: string | undefined): Outcome {
  return text === "success" || text === "failure" ? text : "none";
}

export function OutcomeMark({ outcome, size = 14 }: { outcome: Outcome; size?: number }) {
  return (
    <svg className="mk" viewBox="0 0 14 14" role="img" aria-label={OUTCOME_WORDS[outcome]} width={size} height={size}>
      {outcome === "failure" && (
        <>
          <circle cx="7" cy="7" r="7" fill="var(--fail)" />
          <path d="m4.6 4.6 4.8 4.8M9.4 4.6 4.6 9.4" stroke="var(--on-fail)" strokeWidth="1.7" strokeLinecap="round" />
        </>
      )}
      {outcome === "success" && (
        <>
          <circle cx="7" cy="7" r="6" fill="var(--nodebg,transparent)" stroke="var(--ok)" strokeWidth="1.2" />
          <path
            d="m4.4 7.2 1.8 1.8 3.4-3.7"
            fill="none"
            stroke="var(--ok)"
            strokeWidth="1.5"
            strokeLinecap="round"
            strokeLinejoin="round"
          />
        </>
      )}
      {outcome === "none" && (
        <circle cx="7" cy="7" r="3" fill="var(--nodebg,transparent)" stroke="var(--none)" strokeWidth="1.5" />
      )}
    </svg>
  );
}

const GLYPHS = {
  user: <circle cx="6" cy="6" r="5" />,
  agent: <path d="M6 .5 10.8 3.25v5.5L6 11.5 1.2 8.75v-5.5z" />,
  automation: <rect x="1.2" y="1.2" width="9.6" height="9.6" rx="1.5" />,
  system: <path d="M6 .3 11.7 6 6 11.7.3 6z" />,
};

type Glyph = keyof typeof GLYPHS;

/** Which of the four shapes an actor type gets: people, agents, programs, and what belongs to the platform. */
const GLYPH_OF: Record<string, Glyph> = {
  user: "user",
  anonymous: "user",
  agent: "agent",
  automation: "automation",
  service: "automation",
  integration: "automation",
  api_key: "system",
  system: "system",
};

export function ActorGlyph({ type }: { type: string }) {
  const glyph = GLYPH_OF[type] ?? "system";
  return (
    <svg className={`ag ${glyph}`} viewBox="0 0 12 12" role="img" aria-label={type}>
      {GLYPHS[glyph]}
    </svg>
  );
}

/** An actor: its glyph, then its name. */
export function Actor({ type, id }: { type: string; id: string }) {
  return (
    <span className="act">
      <ActorGlyph type={type} />
      {visible(id)}
    </span>
  );
}

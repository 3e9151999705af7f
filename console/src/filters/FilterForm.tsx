import { Fragment } from "react";
import { FieldError } from "../common/Failed";
import { filterWords, type FilterFields, type FilterName } from "./filters";

const MORE: readonly (readonly [FilterName, string, string])[] = [
  ["resourceType", "Resource types", "action_run"],
  ["actorType", "Actor types", "agent, automation"],
  ["actorId", "Actors, one a line", "planner"],
  ["resourceId", "Resource ids", ""],
  ["correlationId", "Flows, one a line", ""],
  ["causationId", "Causes", ""],
];

/** The filters of a webhook or a rule. */
export function FilterForm({ fields, onChange, error }: { fields: FilterFields; onChange: (fields: FilterFields) => void; error: unknown }) {
  const more = MORE.filter(([name]) => fields[name] !== "").length;
  const set = (name: FilterName) => (value: string) => onChange({ ...fields, [name]: value });
  return (
    <fieldset>
      <legend>Which events</legend>
      <div className="two">
        <div>
          <label htmlFor="filter-eventType" className="xs">
            Event types
          </label>
          <input id="filter-eventType" className="mono" value={fields.eventType} onChange={(event) => set("eventType")(event.target.value)} placeholder="all, or action_run.failed, order.*" spellCheck={false} />
          <FieldError error={error} name="eventType" />
        </div>
        <div>
          <label htmlFor="filter-outcome" className="xs">
            Outcome
          </label>
          <select id="filter-outcome" value={fields.outcome} onChange={(event) => set("outcome")(event.target.value)}>
            <option value="">any</option>
            <option value="failure">failed</option>
            <option value="success">succeeded</option>
            <option value="none">no outcome</option>
            {fields.outcome.includes("\n") && <option value={fields.outcome}>{fields.outcome.replaceAll("\n", " or ")}</option>}
          </select>
        </div>
      </div>
      <details open={more > 0}>
        <summary>More filters{more > 0 && `, ${more} in use`}</summary>
        <div className="two">
          {MORE.map(([name, label, example]) => (
            <div key={name}>
              <label htmlFor={`filter-${name}`} className="xs">
                {label}
              </label>
              <textarea id={`filter-${name}`} className="mono" rows={1} value={fields[name]} onChange={(event) => set(name)(event.target.value)} placeholder={example} spellCheck={false} />
              <FieldError error={error} name={name} />
            </div>
          ))}
        </div>
        <p className="hint">Several values of one filter are alternatives. Different filters must all match.</p>
      </details>
    </fieldset>
  );
}

/** Filters as chips, or that there are none. */
export function FilterChips({ filters, none = "all events" }: { filters: object; none?: string }) {
  const words = filterWords(filters);
  if (words.length === 0) return <span className="t2">{none}</span>;
  return (
    <span className="chips">
      {words.map(({ name, values }) => (
        <Fragment key={name}>
          <span className="tag mono">
            <span className="t3">{name}:</span>
            <span className="cut">{values.join(" or ")}</span>
          </span>
        </Fragment>
      ))}
    </span>
  );
}

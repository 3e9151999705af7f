import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { api, data, type Schemas } from "../api/client";
import { FilterForm } from "../filters/FilterForm";
import { fieldsOf, filtersOf } from "../filters/filters";
import { Failed, FieldError } from "../common/Failed";
import { PastTest } from "./PastTest";
import { conditionFieldsOf, conditionOf, type Condition, type ConditionFields, type Kind } from "./words";

type Rule = Schemas["AlertRule"];

const KINDS: readonly (readonly [Kind, string, string])[] = [
  ["count", "Too many", "when so many events lie within a window"],
  ["absence", "Nothing", "when no event was recorded for so long"],
  ["first_seen", "New", "at the first event of each actor, resource or type"],
  ["match", "Each", "at every matching event"],
];

const NEW: ConditionFields = { kind: "count", per: "", threshold: "5", window: "10m" };

/** Makes a rule, or changes one; it can be tried on the past before. */
export function RuleForm({ rule, onDone, onCancel }: { rule?: Rule; onDone: (id: string) => void; onCancel: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState(rule?.name ?? "");
  const [fields, setFields] = useState(fieldsOf(rule?.filters ?? { outcome: "failure" }));
  const [condition, setCondition] = useState<ConditionFields>(rule ? conditionFieldsOf(rule.condition as Condition) : NEW);
  const body = { filters: filtersOf(fields), condition: conditionOf(condition) };
  const saving = useMutation({
    mutationFn: async () => {
      // The generated type has `never` where the condition's kind takes no value; the server checks the body.
      const whole = { name: name.trim(), ...body } as never;
      if (!rule) return (await data(api.POST("/api/v1/alert-rules", { body: whole }))).id;
      await data(api.PATCH("/api/v1/alert-rules/{rule_id}", { params: { path: { rule_id: rule.id } }, body: whole }));
      return rule.id;
    },
    onSuccess: async (id) => {
      await client.invalidateQueries({ queryKey: ["rules"] });
      onDone(id);
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    saving.mutate();
  }
  return (
    <form className="form" onSubmit={submit}>
      <div>
        <label htmlFor="rule-name">Name</label>
        <input id="rule-name" required maxLength={100} value={name} onChange={(event) => setName(event.target.value)} placeholder="Five failures of an actor" />
        <FieldError error={saving.error} name="name" />
      </div>
      <FilterForm fields={fields} onChange={setFields} error={saving.error} />
      <ConditionForm condition={condition} onChange={setCondition} error={saving.error} />
      <PastTest tested={{ rule: body }} />
      <Failed error={saving.error} fields={["name", "threshold", "windowS", "eventType", "resourceType", "actorType", "actorId", "resourceId", "correlationId", "causationId"]} />
      {rule && <p className="hint">With other filters or another condition it begins anew, and what fires resolves.</p>}
      <div className="acts">
        <button className="btn p" disabled={saving.isPending}>
          {rule ? "Save" : "Make the rule"}
        </button>
        <button type="button" className="btn" onClick={onCancel}>
          Cancel
        </button>
      </div>
    </form>
  );
}

function ConditionForm({ condition, onChange, error }: { condition: ConditionFields; onChange: (condition: ConditionFields) => void; error: unknown }) {
  const { kind } = condition;
  const hasPer = kind === "count" || kind === "first_seen";
  return (
    <fieldset>
      <legend>When it fires</legend>
      {KINDS.map(([value, title, words]) => (
        <label key={value} className="check">
          <input type="radio" name="kind" checked={kind === value} onChange={() => onChange({ ...condition, kind: value, per: value === "first_seen" && !condition.per ? "actor" : condition.per })} />
          <span>
            <span className="m">{title}</span> <span className="t2">{words}</span>
          </span>
        </label>
      ))}
      <div className="two" style={{ marginTop: 8 }}>
        {kind === "count" && (
          <div>
            <label htmlFor="threshold" className="xs">
              At least
            </label>
            <input id="threshold" inputMode="numeric" value={condition.threshold} onChange={(event) => onChange({ ...condition, threshold: event.target.value })} />
            <FieldError error={error} name="threshold" />
          </div>
        )}
        {(kind === "count" || kind === "absence") && (
          <div>
            <label htmlFor="window" className="xs">
              {kind === "count" ? "Within" : "For"}
            </label>
            <input id="window" value={condition.window} onChange={(event) => onChange({ ...condition, window: event.target.value })} placeholder="10m, 26h, 7d" />
            <FieldError error={error} name="windowS" />
          </div>
        )}
        {hasPer && (
          <div>
            <label htmlFor="per" className="xs">
              Counted for each
            </label>
            <select id="per" value={condition.per} onChange={(event) => onChange({ ...condition, per: event.target.value as ConditionFields["per"] })}>
              {kind === "count" && <option value="">all together</option>}
              <option value="actor">actor</option>
              <option value="resource">resource</option>
              {kind === "count" && <option value="correlation">flow</option>}
              <option value="eventType">event type</option>
            </select>
          </div>
        )}
      </div>
    </fieldset>
  );
}

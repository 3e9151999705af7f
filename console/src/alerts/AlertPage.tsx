import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { api, data, type Schemas } from "../api/client";
import { FilterChips } from "../filters/FilterForm";
import { Screen } from "../frame/Screen";
import { Confirm } from "../common/Confirm";
import { Failed } from "../common/Failed";
import { Icon } from "../common/icons";
import { Modal } from "../common/Modal";
import { NeedsScope } from "../common/NeedsScope";
import { ErrorState, Loading } from "../common/states";
import { counted, grouped } from "../common/times";
import { When } from "../common/When";
import { LatestAlerts, ruleQuery, RuleState } from "./AlertsPage";
import { PastTest } from "./PastTest";
import { RuleForm } from "./RuleForm";
import { conditionWords, keyWords, type Condition } from "./words";

type Detail = Schemas["AlertRuleDetail"];

export function AlertPage() {
  const { ruleId } = useParams({ strict: false }) as { ruleId: string };
  const rule = useQuery(ruleQuery(ruleId));
  return (
    <Screen title={rule.data?.name ?? "Rule"} within={{ to: "/alerts", name: "Alerts" }}>
      <div className="body sc">
        <NeedsScope scope="admin" to="see alert rules">
          {rule.isPending ? <Loading rows={6} /> : rule.isError ? <ErrorState error={rule.error} /> : <RuleDetail rule={rule.data} />}
        </NeedsScope>
      </div>
    </Screen>
  );
}

function RuleDetail({ rule }: { rule: Detail }) {
  const [editing, setEditing] = useState(false);
  return (
    <>
      <div className="page-head">
        <div className="grow">
          <h2 className="page-title">{rule.name}</h2>
          <p className="fx g2 t2" style={{ flexWrap: "wrap", marginTop: 4 }}>
            <RuleState rule={rule} firing={rule.firingTotal} />
            <span>Fires: {conditionWords(rule.condition as Condition)}, of</span>
            <FilterChips filters={rule.filters} />
          </p>
          <p className="t3 xs" style={{ marginTop: 4 }}>
            Made <When at={rule.createdAt} />, changed <When at={rule.changedAt} />
            {typeof rule.readTo === "number" && <>, has read to position {grouped(rule.readTo)}</>}
          </p>
        </div>
        <button type="button" className="btn o" onClick={() => setEditing(true)}>
          Change
        </button>
      </div>
      <Troubles rule={rule} />
      <div className="cols">
        <div>
          <Firing rule={rule} />
          <LatestAlerts ruleId={rule.id} />
        </div>
        <section className="block">
          <h3 className="lab h">Over the past</h3>
          <PastTest tested={{ ruleId: rule.id }} />
        </section>
      </div>
      <Remove rule={rule} />
      {editing && (
        <Modal title="Change the rule" onClose={() => setEditing(false)}>
          <RuleForm rule={rule} onDone={() => setEditing(false)} onCancel={() => setEditing(false)} />
        </Modal>
      )}
    </>
  );
}

function Troubles({ rule }: { rule: Detail }) {
  const client = useQueryClient();
  const takeOver = useMutation({
    mutationFn: () => data(api.PATCH("/api/v1/alert-rules/{rule_id}", { params: { path: { rule_id: rule.id } }, body: { takeOver: true } as never })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["rules"] }),
  });
  const notes: string[] = [];
  if (rule.missedBefore !== null) notes.push(`Events before position ${rule.missedBefore} were no longer kept when it came to them.`);
  if (rule.droppedKeys) notes.push(`${counted(rule.droppedKeys, "key")} had to be forgotten: there were too many at once.`);
  if (rule.refusedAlerts) notes.push(`${counted(rule.refusedAlerts, "alert")} could not be stored.`);
  return (
    <div className="stack" style={{ marginTop: 14 }}>
      {rule.standsStill && (
        <div className="note warn">
          <Icon name="warning" />
          <div className="grow">
            <div className="b">It stands still</div>
            <div className="t2">{rule.standsStill}</div>
            <Failed error={takeOver.error} />
          </div>
          <div className="acts">
            <button type="button" className="btn o" onClick={() => takeOver.mutate()}>
              Go on with my key
            </button>
          </div>
        </div>
      )}
      {notes.map((note) => (
        <div key={note} className="note warn">
          <Icon name="warning" />
          <div className="grow t2">{note}</div>
        </div>
      ))}
    </div>
  );
}

function Firing({ rule }: { rule: Detail }) {
  if (rule.firing === null) return <p className="t2">Your key may not read all that this rule reads, so its state is not shown.</p>;
  return (
    <section className="block">
      <h3 className="lab h">
        Fires now <span className="n">{rule.firingTotal ? `for ${grouped(rule.firingTotal)}` : ""}</span>
      </h3>
      {rule.firing.length === 0 && <p className="t3">Nothing fires.</p>}
      {rule.firing.map(({ alertId, key }) => (
        <div key={alertId} className="line">
          <span className="tag fail">
            <Icon name="alerts" small />
            fires
          </span>
          <span className="cut grow">{keyWords(key) || rule.name}</span>
          <Link className="link" to="/trace/$eventId" params={{ eventId: alertId }} search={{}}>
            Why
          </Link>
        </div>
      ))}
      {(rule.firingTotal ?? 0) > rule.firing.length && <p className="t3 xs">and {grouped((rule.firingTotal ?? 0) - rule.firing.length)} more</p>}
    </section>
  );
}

function Remove({ rule }: { rule: Detail }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  return (
    <Confirm
      label="Delete this rule"
      title="Delete the rule?"
      action="Delete"
      run={async () => {
        await data(api.DELETE("/api/v1/alert-rules/{rule_id}", { params: { path: { rule_id: rule.id } } }));
        await navigate({ to: "/alerts", search: {} });
        await client.invalidateQueries({ queryKey: ["rules"] });
      }}
    >
      It watches no more. The events of its alerts stay in the log, and what fires does not resolve.
    </Confirm>
  );
}

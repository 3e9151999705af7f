import { useQueries, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { api, data, getJson, type Schemas } from "../api/client";
import type { EventPage, LogEvent } from "../api/events";
import { FilterChips } from "../filters/FilterForm";
import { Screen } from "../frame/Screen";
import type { Search } from "../common/search";
import { Icon } from "../common/icons";
import { withQuery } from "../common/links";
import { Modal } from "../common/Modal";
import { NeedsScope } from "../common/NeedsScope";
import { useRowKeys } from "../common/rowkeys";
import { Empty, ErrorState, Loading } from "../common/states";
import { counted } from "../common/times";
import { When } from "../common/When";
import { RuleForm } from "./RuleForm";
import { conditionWords, keyWords, type Condition } from "./words";

type Rule = Schemas["AlertRule"];

export function ruleQuery(id: string) {
  return {
    queryKey: ["rules", id],
    queryFn: ({ signal }: { signal: AbortSignal }) => data(api.GET("/api/v1/alert-rules/{rule_id}", { params: { path: { rule_id: id } }, signal })),
    refetchInterval: 10_000,
  };
}

export function AlertsPage() {
  const navigate = useNavigate();
  const { new: making } = useSearch({ strict: false }) as Search;
  const close = () => void navigate({ to: "/alerts", search: {} });
  return (
    <Screen
      title="Alerts"
      tools={
        <Link className="btn p" to="/alerts" search={{ new: "1" }}>
          <Icon name="plus" />
          <span>
            New<span className="only-wide"> rule</span>
          </span>
        </Link>
      }
    >
      <div className="body sc">
        <NeedsScope scope="admin" to="see or make alert rules">
          <Rules />
          {making === "1" && (
            <Modal title="New alert rule" onClose={close}>
              <RuleForm onCancel={close} onDone={(ruleId) => void navigate({ to: "/alerts/$ruleId", params: { ruleId }, search: {} })} />
            </Modal>
          )}
        </NeedsScope>
      </div>
    </Screen>
  );
}

function Rules() {
  const area = useRowKeys<HTMLDivElement>("Alert rules");
  const list = useQuery({ queryKey: ["rules"], queryFn: ({ signal }) => data(api.GET("/api/v1/alert-rules", { signal })) });
  const details = useQueries({ queries: (list.data?.rules ?? []).map(({ id }) => ruleQuery(id)) });
  if (list.isPending) return <Loading rows={4} />;
  if (list.isError) return <ErrorState error={list.error} />;
  if (list.data.rules.length === 0) {
    return (
      <Empty title="No alert rule is set up">
        <p className="t2">A rule watches the log. When it fires it stores an event, whose cause is what made it fire: webhooks, streams and traces show it.</p>
        <p className="t2">From a terminal:</p>
        <pre className="code">whence alert test --type action_run.failed --at-least 3 --within 1m --per correlation --over 7d</pre>
      </Empty>
    );
  }
  return (
    <div ref={area}>
      <div className="scroll">
        <table className="wide-rows">
          <thead>
            <tr>
              <th>Rule</th>
              <th>State</th>
              <th className="only-wide">Fires</th>
              <th className="only-wide">Events</th>
              <th className="r only-wide">Changed</th>
            </tr>
          </thead>
          <tbody>
            {list.data.rules.map((rule, index) => (
              <RuleRow key={rule.id} rule={rule} detail={details[index]?.data} />
            ))}
          </tbody>
        </table>
      </div>
      <LatestAlerts />
    </div>
  );
}

function RuleRow({ rule, detail }: { rule: Rule; detail: Schemas["AlertRuleDetail"] | undefined }) {
  const navigate = useNavigate();
  const to = { to: "/alerts/$ruleId", params: { ruleId: rule.id }, search: {} } as const;
  return (
    <tr className="go" onClick={() => void navigate(to)}>
      <td style={{ maxWidth: 0, width: "34%" }}>
        <Link {...to} className="row-link cut m" onClick={(event) => event.stopPropagation()}>
          {rule.name}
        </Link>
        <span className="only-phone t3 xs cut">{conditionWords(rule.condition as Condition)}</span>
      </td>
      <td>
        <RuleState rule={rule} firing={detail?.firingTotal ?? null} />
      </td>
      <td className="t2 only-wide">{conditionWords(rule.condition as Condition)}</td>
      <td className="only-wide">
        <FilterChips filters={rule.filters} />
      </td>
      <td className="r xs t2 only-wide">
        <When at={rule.changedAt} />
      </td>
    </tr>
  );
}

export function RuleState({ rule, firing }: { rule: Rule; firing: number | null }) {
  if (rule.standsStill) {
    return (
      <span className="tag warn">
        <Icon name="warning" small />
        stands still
      </span>
    );
  }
  if (firing) {
    return (
      <span className="tag fail">
        <Icon name="alerts" small />
        {firing === 1 ? "fires" : `fires for ${firing}`}
      </span>
    );
  }
  return <span className="tag">watches</span>;
}

/** Events of alerts that are looked through. */
const LATEST = 100;

/** The alerts of one rule, or of all, among the latest in the log. */
export function LatestAlerts({ ruleId }: { ruleId?: string }) {
  const { data: page } = useQuery({
    queryKey: ["latest-alerts"],
    queryFn: ({ signal }) =>
      getJson<EventPage>(
        withQuery("api/v1/events", { limit: LATEST, include: "position,recordedAt,outcome" }) + "&event_type=whence.alert_fired&event_type=whence.alert_resolved",
        signal,
      ),
    refetchInterval: 10_000,
  });
  if (!page) return null;
  const events = page.events.filter(({ payload }) => ruleId === undefined || payload?.ruleId === ruleId);
  return (
    <section className="block" style={{ marginTop: 24 }}>
      <h3 className="lab h">
        Alerts <span className="n">latest first{page.total > LATEST && `, among the latest ${LATEST} of all rules`}</span>
      </h3>
      {events.length === 0 && <p className="t3">Nothing has fired yet.</p>}
      {events.slice(0, 30).map((event) => (
        <AlertLine key={event.id} event={event} isNamed={ruleId === undefined} />
      ))}
      {events.length > 30 && <p className="t3 xs">and {counted(events.length - 30, "more", "more")}</p>}
    </section>
  );
}

function AlertLine({ event, isNamed }: { event: LogEvent; isNamed: boolean }) {
  const isFired = event.eventType === "whence.alert_fired";
  const payload = event.payload ?? {};
  const key = keyWords(typeof payload.key === "object" && payload.key !== null ? payload.key : {});
  return (
    <div className="line">
      <span className={isFired ? "tag fail" : "tag ok"}>
        <Icon name={isFired ? "alerts" : "check"} small />
        {isFired ? "fired" : "resolved"}
      </span>
      <span className="xs t2">
        <When at={event.occurredAt} />
      </span>
      <Link className="link plain cut grow" to="/e/$eventId" params={{ eventId: event.id }} search={{}}>
        {isNamed && <span className="m">{String(payload.name ?? "")} </span>}
        <span className="t2">{key}</span>
      </Link>
      <Link className="link xs" to="/trace/$eventId" params={{ eventId: event.id }} search={{}}>
        Why
      </Link>
    </div>
  );
}

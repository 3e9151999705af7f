import type { Schemas } from "../api/client";
import { Icon } from "../common/icons";

/** Whether a webhook sends, as a word and a mark. */
export function WebhookState({ webhook }: { webhook: Schemas["Webhook"] }) {
  if (webhook.standsStill) {
    return (
      <span className="tag warn">
        <Icon name="warning" small />
        stands still
      </span>
    );
  }
  if (!webhook.enabled) return <span className="tag">off</span>;
  return (
    <span className="tag ok">
      <Icon name="check" small />
      on
    </span>
  );
}

const STATES = { pending: "", delivered: "ok", failed: "fail" } as const;

export function DeliveryState({ state }: { state: Schemas["Delivery"]["state"] }) {
  return (
    <span className={`tag ${STATES[state]}`}>
      <Icon name={state === "delivered" ? "check" : state === "failed" ? "close" : "clock"} small />
      {state}
    </span>
  );
}

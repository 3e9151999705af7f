import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { api, data, type Schemas } from "../api/client";
import { FilterChips } from "../filters/FilterForm";
import { Screen } from "../frame/Screen";
import { Confirm } from "../common/Confirm";
import { OnceShown } from "../common/Copy";
import { Failed } from "../common/Failed";
import { Icon } from "../common/icons";
import { Modal } from "../common/Modal";
import { NeedsScope } from "../common/NeedsScope";
import { ErrorState, Loading } from "../common/states";
import { counted, grouped } from "../common/times";
import { When } from "../common/When";
import { AttemptLine, Deliveries, wasTaken } from "./Deliveries";
import { WebhookState } from "./state";
import { WebhookForm } from "./WebhookForm";

type Detail = Schemas["WebhookDetail"];

export function WebhookPage() {
  const { webhookId } = useParams({ strict: false }) as { webhookId: string };
  const webhook = useQuery({
    queryKey: ["webhooks", webhookId],
    queryFn: ({ signal }) => data(api.GET("/api/v1/webhooks/{webhook_id}", { params: { path: { webhook_id: webhookId } }, signal })),
    refetchInterval: 5_000,
  });
  return (
    <Screen title={webhook.data ? new URL(webhook.data.url).host : "Webhook"} within={{ to: "/webhooks", name: "Webhooks" }}>
      <div className="body sc">
        <NeedsScope scope="admin" to="see webhooks">
          {webhook.isPending ? <Loading rows={6} /> : webhook.isError ? <ErrorState error={webhook.error} /> : <WebhookDetail webhook={webhook.data} />}
        </NeedsScope>
      </div>
    </Screen>
  );
}

function useChange(id: string) {
  const client = useQueryClient();
  return useMutation({
    // Every field may be left out; the generated type requires those with a default.
    mutationFn: (change: Partial<Schemas["WebhookChange"]>) =>
      data(api.PATCH("/api/v1/webhooks/{webhook_id}", { params: { path: { webhook_id: id } }, body: change as Schemas["WebhookChange"] })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["webhooks"] }),
  });
}

function WebhookDetail({ webhook }: { webhook: Detail }) {
  const [editing, setEditing] = useState(false);
  return (
    <>
      <div className="page-head">
        <div className="grow">
          <h2 className="page-title mono">{webhook.url}</h2>
          <p className="fx g2 t3 xs" style={{ flexWrap: "wrap", marginTop: 4 }}>
            <WebhookState webhook={webhook} />
            <FilterChips filters={webhook.filters} />
            <span>
              {webhook.format}
              {webhook.fifo && ", in order"} · made <When at={webhook.createdAt} />
            </span>
          </p>
          {webhook.description && <p className="t2">{webhook.description}</p>}
        </div>
        <TestEvent webhook={webhook} />
        <button type="button" className="btn o" onClick={() => setEditing(true)}>
          Change
        </button>
        <Switch webhook={webhook} />
      </div>
      <Troubles webhook={webhook} />
      {webhook.deliveries && <Figures webhook={webhook} counts={webhook.deliveries} />}
      <Deliveries webhookId={webhook.id} />
      <Secret webhook={webhook} />
      <Remove webhook={webhook} />
      {editing && (
        <Modal title="Change the webhook" onClose={() => setEditing(false)}>
          <WebhookForm webhook={webhook} onDone={() => setEditing(false)} onCancel={() => setEditing(false)} />
        </Modal>
      )}
    </>
  );
}

function Switch({ webhook }: { webhook: Detail }) {
  const change = useChange(webhook.id);
  return (
    <div>
      <button type="button" className={webhook.enabled ? "btn o" : "btn p"} disabled={change.isPending} onClick={() => change.mutate({ enabled: !webhook.enabled })}>
        {webhook.enabled ? "Switch off" : "Switch on"}
      </button>
      <Failed error={change.error} />
    </div>
  );
}

/** What stops deliveries, or stopped them, with what to do about it. */
function Troubles({ webhook }: { webhook: Detail }) {
  const change = useChange(webhook.id);
  return (
    <div className="stack" style={{ marginTop: webhook.standsStill || webhook.disabledReason || webhook.failingSince ? 14 : 0 }}>
      {webhook.standsStill && (
        <div className="note warn">
          <Icon name="warning" />
          <div className="grow">
            <div className="b">It stands still</div>
            <div className="t2">{webhook.standsStill}</div>
            <Failed error={change.error} />
          </div>
          <div className="acts">
            <button type="button" className="btn o" onClick={() => change.mutate({ takeOver: true })}>
              Go on with my key
            </button>
          </div>
        </div>
      )}
      {!webhook.enabled && webhook.disabledReason && (
        <div className="note warn">
          <Icon name="warning" />
          <div className="grow">
            <div className="b">
              It was switched off{" "}
              {webhook.disabledAt && (
                <>
                  at <When at={webhook.disabledAt} />
                </>
              )}
            </div>
            <div className="t2">{webhook.disabledReason} Events wait in the log until it is switched on.</div>
          </div>
        </div>
      )}
      {webhook.enabled && webhook.failingSince && (
        <div className="note warn">
          <Icon name="warning" />
          <div className="grow">
            <div className="b">
              All attempts have failed since <When at={webhook.failingSince} />
            </div>
            <div className="t2">After five days of that it is switched off. Nothing is lost: deliveries are tried again.</div>
          </div>
        </div>
      )}
      {(webhook.gaps ?? []).map((gap) => (
        <div key={String(gap.after)} className="note warn">
          <Icon name="warning" />
          <div className="grow t2">
            Events after position {String(gap.after)} were no longer kept when their turn came at <When at={gap.at} />. It went on after {String(gap.resumedAfter)}.
          </div>
        </div>
      ))}
    </div>
  );
}

function Figures({ webhook, counts }: { webhook: Detail; counts: Schemas["DeliveryCounts"] }) {
  return (
    <div className="figs">
      <div>
        <div className="fig">{grouped(counts.delivered)}</div>
        <div className="xs t2">delivered in 30 days</div>
      </div>
      <div>
        <div className="fig">{grouped(counts.pending)}</div>
        <div className="xs t2">pending</div>
      </div>
      <div>
        <div className={counts.failed > 0 ? "fig fail" : "fig"}>{grouped(counts.failed)}</div>
        <div className="xs t2">failed</div>
      </div>
      {typeof webhook.readTo === "number" && (
        <div>
          <div className="fig">{grouped(webhook.readTo)}</div>
          <div className="xs t2">position that it has read to</div>
        </div>
      )}
      <span className="grow" />
      <div style={{ alignSelf: "center", border: 0 }}>
        <ReplayButton webhook={webhook} />
      </div>
    </div>
  );
}

function TestEvent({ webhook }: { webhook: Detail }) {
  const test = useMutation({
    mutationFn: () => data(api.POST("/api/v1/webhooks/{webhook_id}/test", { params: { path: { webhook_id: webhook.id } } })),
  });
  return (
    <>
      <button type="button" className="btn o" disabled={test.isPending} onClick={() => test.mutate()}>
        {test.isPending ? "Sending…" : "Send a test event"}
      </button>
      {(test.data || test.error) && (
        <Modal title={test.data && wasTaken(test.data) ? "The test event was delivered" : "The test event was not delivered"} onClose={() => test.reset()}>
          {test.data && <AttemptLine attempt={test.data} />}
          <Failed error={test.error} />
          <p className="t3 xs">It has the type whence.webhook_test, and is not in the log.</p>
        </Modal>
      )}
    </>
  );
}

function ReplayButton({ webhook }: { webhook: Detail }) {
  const client = useQueryClient();
  const [open, setOpen] = useState(false);
  const [since, setSince] = useState("-1d");
  const [state, setState] = useState<"failed" | "all">("failed");
  const replay = useMutation({
    mutationFn: async () => {
      const params = { path: { webhook_id: webhook.id } };
      let part = await data(api.POST("/api/v1/webhooks/{webhook_id}/replay", { params, body: { since: since.trim(), state } }));
      while (part.nextAfter !== null) part = await data(api.POST("/api/v1/webhooks/{webhook_id}/replay", { params, body: { after: part.nextAfter, state } }));
    },
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["webhooks"] });
      setOpen(false);
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    replay.mutate();
  }
  return (
    <>
      <button type="button" className="btn o" onClick={() => setOpen(true)}>
        <Icon name="cycle" />
        Deliver again…
      </button>
      {open && (
        <Modal title="Deliver again" onClose={() => setOpen(false)}>
          <form className="form" onSubmit={submit}>
            <div>
              <label htmlFor="since">Of events recorded since</label>
              <input id="since" required value={since} onChange={(event) => setSince(event.target.value)} />
              <p className="hint">Such as -1d, -2h, 2026-01-31 or 2026-01-31T12:00Z.</p>
            </div>
            <fieldset>
              <legend>Which</legend>
              <label className="check">
                <input type="radio" name="state" checked={state === "failed"} onChange={() => setState("failed")} />
                Deliveries that failed
              </label>
              <label className="check">
                <input type="radio" name="state" checked={state === "all"} onChange={() => setState("all")} />
                Every matching event, also those that were delivered
              </label>
            </fieldset>
            <Failed error={replay.error} />
            <div className="acts">
              <button className="btn p" disabled={replay.isPending}>
                Deliver again
              </button>
            </div>
          </form>
        </Modal>
      )}
    </>
  );
}

function Secret({ webhook }: { webhook: Detail }) {
  const client = useQueryClient();
  const [secret, setSecret] = useState<string | null>(null);
  return (
    <section className="block" style={{ marginTop: 24 }}>
      <h3 className="lab h">Secret</h3>
      <p className="t2">
        Every request is signed. The secret was shown when the webhook was made.
        {webhook.oldSecretValidUntil && (
          <>
            {" "}
            Until <When at={webhook.oldSecretValidUntil} /> requests are signed with the one before, too.
          </>
        )}
      </p>
      <Confirm
        className="btn o"
        label="Make a new secret"
        title="Make a new secret?"
        action="Make a new secret"
        run={async () => {
          const made = await data(api.POST("/api/v1/webhooks/{webhook_id}/secret", { params: { path: { webhook_id: webhook.id } } }));
          setSecret(made.secret);
          await client.invalidateQueries({ queryKey: ["webhooks"] });
        }}
      >
        For 24 hours requests are signed with both, so that the receiver can change over at any time in between.
      </Confirm>
      {secret && (
        <Modal title="The new secret" onClose={() => setSecret(null)}>
          <OnceShown secret={secret} what="secret" />
        </Modal>
      )}
    </section>
  );
}

function Remove({ webhook }: { webhook: Detail }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const waiting = webhook.deliveries?.pending ?? 0;
  return (
    <Confirm
      label="Delete this webhook"
      title="Delete the webhook?"
      action="Delete"
      run={async () => {
        await data(api.DELETE("/api/v1/webhooks/{webhook_id}", { params: { path: { webhook_id: webhook.id } } }));
        await navigate({ to: "/webhooks", search: {} });
        await client.invalidateQueries({ queryKey: ["webhooks"] });
      }}
    >
      It sends nothing more, and its record of deliveries goes with it.
      {waiting > 0 && ` ${counted(waiting, "delivery", "deliveries")} will not be made.`}
    </Confirm>
  );
}

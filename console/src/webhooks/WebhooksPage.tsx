import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { api, data, type Schemas } from "../api/client";
import { FilterChips } from "../filters/FilterForm";
import { Screen } from "../frame/Screen";
import type { Search } from "../common/search";
import { OnceShown } from "../common/Copy";
import { Icon } from "../common/icons";
import { Modal } from "../common/Modal";
import { NeedsScope } from "../common/NeedsScope";
import { useRowKeys } from "../common/rowkeys";
import { Empty, ErrorState, Loading } from "../common/states";
import { When } from "../common/When";
import { WebhookState } from "./state";
import { WebhookForm } from "./WebhookForm";

export function WebhooksPage() {
  const navigate = useNavigate();
  const { new: making } = useSearch({ strict: false }) as Search;
  const [made, setMade] = useState<Schemas["CreatedWebhook"] | null>(null);
  const close = () => void navigate({ to: "/webhooks", search: {} });
  return (
    <Screen
      title="Webhooks"
      tools={
        <Link className="btn p" to="/webhooks" search={{ new: "1" }}>
          <Icon name="plus" />
          <span>
            New<span className="only-wide"> webhook</span>
          </span>
        </Link>
      }
    >
      <NeedsScopeBody>
        <List />
        {making === "1" && (
          <Modal title="New webhook" onClose={close}>
            <WebhookForm
              onCancel={close}
              onDone={(webhook) => {
                setMade(webhook);
                close();
              }}
            />
          </Modal>
        )}
        {made && (
          <Modal title="The webhook is made" onClose={() => setMade(null)}>
            <div className="stack">
              <p className="t2">
                Events go to <span className="mono">{made.url}</span> from now on. Each is signed with this secret, by which the receiver recognises them:
              </p>
              <OnceShown secret={made.secret} what="secret" />
              <p>
                <Link className="btn p" to="/webhooks/$webhookId" params={{ webhookId: made.id }} search={{}}>
                  Open it, and send a test event
                </Link>
              </p>
            </div>
          </Modal>
        )}
      </NeedsScopeBody>
    </Screen>
  );
}

function NeedsScopeBody({ children }: { children: React.ReactNode }) {
  return (
    <div className="body sc">
      <NeedsScope scope="admin" to="see or make webhooks">
        {children}
      </NeedsScope>
    </div>
  );
}

function List() {
  const navigate = useNavigate();
  const area = useRowKeys<HTMLDivElement>("Webhooks");
  const list = useQuery({ queryKey: ["webhooks"], queryFn: ({ signal }) => data(api.GET("/api/v1/webhooks", { signal })) });
  if (list.isPending) return <Loading rows={4} />;
  if (list.isError) return <ErrorState error={list.error} />;
  if (list.data.webhooks.length === 0) {
    return (
      <Empty title="No webhook is set up">
        <p className="t2">A webhook sends events to a URL as they are stored, each at least once, also after crashes of either side.</p>
        <p className="t2">To try a receiver on your machine without one:</p>
        <pre className="code">whence webhook listen --forward http://127.0.0.1:3000/</pre>
      </Empty>
    );
  }
  return (
    <div ref={area} className="scroll">
      <table className="wide-rows">
        <thead>
          <tr>
            <th>URL</th>
            <th className="only-wide">Events</th>
            <th className="only-wide">Form</th>
            <th>State</th>
            <th className="r only-wide">Made</th>
          </tr>
        </thead>
        <tbody>
          {list.data.webhooks.map((webhook) => (
            <tr key={webhook.id} className="go" onClick={() => void navigate({ to: "/webhooks/$webhookId", params: { webhookId: webhook.id }, search: {} })}>
              <td style={{ maxWidth: 0, width: "45%" }}>
                <Link className="row-link" to="/webhooks/$webhookId" params={{ webhookId: webhook.id }} search={{}} onClick={(event) => event.stopPropagation()}>
                  <span className="cut mono xs" style={{ display: "block" }}>
                    {webhook.url}
                  </span>
                  {webhook.description && (
                    <span className="cut t3 xs" style={{ display: "block" }}>
                      {webhook.description}
                    </span>
                  )}
                </Link>
              </td>
              <td className="only-wide">
                <FilterChips filters={webhook.filters} />
              </td>
              <td className="t2 only-wide">{webhook.format}</td>
              <td>
                <WebhookState webhook={webhook} />
              </td>
              <td className="r xs t2 only-wide">
                <When at={webhook.createdAt} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

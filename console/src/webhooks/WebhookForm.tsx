import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { api, data, type Schemas } from "../api/client";
import { FilterForm } from "../filters/FilterForm";
import { fieldsOf, filtersOf } from "../filters/filters";
import { Failed, FieldError } from "../common/Failed";

type Webhook = Schemas["Webhook"];

const FORMATS = [
  ["whence", "Whence (Standard Webhooks)"],
  ["cloudevents", "CloudEvents 1.0"],
  ["slack", "Slack: the event as a sentence"],
] as const;

/** Makes a webhook, or changes one. */
export function WebhookForm({ webhook, onDone, onCancel }: { webhook?: Webhook; onDone: (made: Schemas["CreatedWebhook"] | null) => void; onCancel: () => void }) {
  const client = useQueryClient();
  const [url, setUrl] = useState(webhook?.url ?? "");
  const [description, setDescription] = useState(webhook?.description ?? "");
  const [format, setFormat] = useState<Webhook["format"]>(webhook?.format ?? "whence");
  const [fifo, setFifo] = useState(webhook?.fifo ?? false);
  const [fields, setFields] = useState(fieldsOf(webhook?.filters ?? {}));
  const saving = useMutation({
    mutationFn: async () => {
      const enabled = webhook?.enabled ?? true;
      const body = { url: url.trim(), description, format, fifo, enabled, filters: filtersOf(fields) as Schemas["NewWebhook"]["filters"] & object };
      if (!webhook) return await data(api.POST("/api/v1/webhooks", { body }));
      await data(api.PATCH("/api/v1/webhooks/{webhook_id}", { params: { path: { webhook_id: webhook.id } }, body }));
      return null;
    },
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: ["webhooks"] });
      onDone(made);
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    saving.mutate();
  }
  return (
    <form className="form" onSubmit={submit}>
      <div>
        <label htmlFor="url">URL</label>
        <input id="url" type="url" required value={url} onChange={(event) => setUrl(event.target.value)} placeholder="https://hooks.example.com/whence" autoFocus spellCheck={false} />
        <FieldError error={saving.error} name="url" />
        <p className="hint">Only public addresses are called, and those that the server’s operator allows.</p>
      </div>
      <div>
        <label htmlFor="description">Description</label>
        <input id="description" value={description} maxLength={255} onChange={(event) => setDescription(event.target.value)} />
        <FieldError error={saving.error} name="description" />
      </div>
      <FilterForm fields={fields} onChange={setFields} error={saving.error} />
      <div className="two">
        <div>
          <FormatField value={format} onChange={setFormat} />
        </div>
        <div>
          <span className="m">Order</span>
          <label className="check">
            <input type="checkbox" checked={fifo} onChange={(event) => setFifo(event.target.checked)} />
            One after the other, by position
          </label>
        </div>
      </div>
      <Failed error={saving.error} fields={["url", "description", "eventType", "resourceType", "actorType", "actorId", "resourceId", "correlationId", "causationId"]} />
      <div className="acts">
        <button className="btn p" disabled={saving.isPending}>
          {webhook ? "Save" : "Make the webhook"}
        </button>
        <button type="button" className="btn" onClick={onCancel}>
          Cancel
        </button>
      </div>
    </form>
  );
}

function FormatField({ value, onChange }: { value: Webhook["format"]; onChange: (value: Webhook["format"]) => void }) {
  return (
    <>
      <label htmlFor="format">Form of the body</label>
      <select id="format" value={value} onChange={(event) => onChange(event.target.value as Webhook["format"])}>
        {FORMATS.map(([each, name]) => (
          <option key={each} value={each}>
            {name}
          </option>
        ))}
      </select>
    </>
  );
}

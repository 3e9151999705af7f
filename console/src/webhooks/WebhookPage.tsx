import { Bar } from "../frame/Bar";

export function WebhookPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

import { Bar } from "../frame/Bar";

export function WebhooksPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

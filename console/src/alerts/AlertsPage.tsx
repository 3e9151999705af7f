import { Bar } from "../frame/Bar";

export function AlertsPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

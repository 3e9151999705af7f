import { Bar } from "../frame/Bar";

export function FlowsPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

import { Bar } from "../frame/Bar";

export function FlowPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

import { Bar } from "../frame/Bar";

export function AlertPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

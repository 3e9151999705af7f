import { Bar } from "../frame/Bar";

export function TracePage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

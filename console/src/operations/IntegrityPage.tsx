import { Bar } from "../frame/Bar";

export function IntegrityPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

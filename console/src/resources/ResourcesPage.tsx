import { Bar } from "../frame/Bar";

export function ResourcesPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

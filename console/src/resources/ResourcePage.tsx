import { Bar } from "../frame/Bar";

export function ResourcePage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

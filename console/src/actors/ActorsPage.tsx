import { Bar } from "../frame/Bar";

export function ActorsPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

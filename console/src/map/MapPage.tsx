import { Bar } from "../frame/Bar";

export function MapPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}

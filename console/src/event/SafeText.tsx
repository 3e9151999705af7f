import { Fragment, useState } from "react";
import { codePointName, HIDDEN } from "../common/visible";

const SHOWN = 600;

/** Untrusted text: what would hide or turn it is shown by its code, and a long one begins with its first characters. */
export function SafeText({ text }: { text: string }) {
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole || text.length <= 2 * SHOWN ? text : `${text.slice(0, SHOWN)}…`;
  return (
    <>
      <bdi className="safe">
        {shown.split(new RegExp(`(${HIDDEN.source})`, "u")).map((part, index) =>
          HIDDEN.test(part) ? (
            <span key={index} className="tag warn code-point" title="A character that cannot be seen">
              {codePointName(part)}
            </span>
          ) : (
            <Fragment key={index}>{part}</Fragment>
          ),
        )}
      </bdi>
      {shown !== text && (
        <>
          {" "}
          <span className="c">{text.length.toLocaleString("en-US")} characters</span>{" "}
          <button className="link" onClick={() => setWhole(true)}>
            Show all
          </button>
        </>
      )}
    </>
  );
}

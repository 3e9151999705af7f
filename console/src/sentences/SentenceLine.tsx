import { ActorGlyph } from "../common/marks";
import type { Sentence } from "./sentence";
import { shownDetail, shownObject } from "./sentences";
import { visible } from "../common/visible";

/** Characters of a detail's end that stay when a line is too long for its place. */
const END_LENGTH = 20;

/** A sentence on one line, which loses its end where it is too long. */
export function SentenceLine({ sentence, actorType }: { sentence: Sentence; actorType: string }) {
  const detail = visible(shownDetail(sentence));
  return (
    <span className="cut sentence">
      <SentenceHead sentence={sentence} actorType={actorType} />
      {detail && (
        <>
          {" "}
          <bdi className="det">{detail}</bdi>
        </>
      )}
    </span>
  );
}

/** Who, verb and object. */
export function SentenceHead({ sentence, actorType }: { sentence: Sentence; actorType: string }) {
  const object = visible(shownObject(sentence));
  return (
    <>
      <bdi className="act">
        <ActorGlyph type={actorType} />
        {visible(sentence.actor)}
        {!sentence.isVerb && ":"}
      </bdi>{" "}
      <span className={sentence.isFailure ? "fw" : "t2"}>{sentence.verb}</span>
      {object && (
        <>
          {" "}
          <bdi className="obj">{object}</bdi>
        </>
      )}
    </>
  );
}

/** The detail. That of a failure keeps its end, which often tells two errors apart. */
export function SentenceDetail({ sentence }: { sentence: Sentence }) {
  const text = visible(shownDetail(sentence));
  if (!text) return null;
  if (!sentence.isFailure || text.length < 3 * END_LENGTH) return <bdi className="cut det">{text}</bdi>;
  const characters = Array.from(text);
  return (
    <bdi className="mid det">
      <span className="cut">{characters.slice(0, -END_LENGTH).join("")}</span>
      <span>{characters.slice(-END_LENGTH).join("")}</span>
    </bdi>
  );
}

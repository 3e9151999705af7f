/** What a text can be as the id of an event. Pure. */

const EVENT_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Whether an event may have this id. A cause that is another text links to no event, and none will ever arrive. */
const isEventId = (text: string): boolean => EVENT_ID.test(text);

/** What is said of a cause that is not here: `absent`, where it may be one. */
export const absenceOf = (cause: string, absent: string): string => (isEventId(cause) ? absent : "is not an event's id");

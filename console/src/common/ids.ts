/** What a text can be as the id of an event. Pure. */

const EVENT_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Whether an event may have this id. A cause that is another text links to no event, and none will ever arrive. */
export const isEventId = (text: string): boolean => EVENT_ID.test(text);

/** What is said of a cause that the log does not have. */
export const absenceOf = (cause: string): string => (isEventId(cause) ? "has not arrived" : "is not an event's id");

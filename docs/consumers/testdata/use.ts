// What must hold of the types, and what must not: each expected error must be one.
import { key, type Leg, type Outcome, type Session, type Summary } from "./legato.js";

export function minutes(s: Summary): number {
  if (s.kind === "leg") {
    const parts: string[] = (s.cost?.parts ?? []).map((p) => p.amount ?? "0");
    return (s.talk_seconds ?? 0) / 60 + parts.length + s.events.length;
  }
  return s.legs.length + key(s).length;
}

export function word(o: Outcome): string {
  switch (o) {
    case "answered":
    case "no_answer":
    case "busy":
    case "rejected":
    case "canceled":
    case "failed":
    case "unknown":
      return o;
  }
}

// @ts-expect-error a word that is none
export const outcome: Outcome = "hung_up";
// @ts-expect-error a session has no leg id
export const id = (s: Session): string => s.call_leg_id;
// @ts-expect-error a leg may have no cost
export const status = (l: Leg) => l.cost.status;
// @ts-expect-error money is text
export const amount = (l: Leg): number | undefined => l.cost?.totals?.[0]?.amount;
// @ts-expect-error null is never written
export const talk: Leg["talk_seconds"] = null;

// A browser that does not keep a tool's cookie is sent back for another hand-off at once, and then for the next. No host sees
// that: each hand-off works. So this tab counts those that follow one another.
const key = "hand-offs in a row";
const soon = 10_000;
const most = 3;

function storage(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null; // switched off: nothing is counted
  }
}

// circling reports whether one more hand-off would be one of a circle.
export function circling() {
  return storage((s) => {
    const [count, at] = JSON.parse(s.getItem(key)) || [0, 0];
    const next = [Date.now() - at < soon ? count + 1 : 1, Date.now()];
    s.setItem(key, JSON.stringify(next));
    return next[0] > most;
  });
}

// leave is for when the person did something themselves: what follows is no circle.
export function leave() {
  storage((s) => s.removeItem(key));
}

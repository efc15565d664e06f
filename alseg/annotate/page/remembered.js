/** What a browser remembers of how somebody likes to work. */

export function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // a browser may keep nothing
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Then it is asked again next time.
  }
}

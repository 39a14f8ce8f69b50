const kept = 64 << 10; // more than the server repeats
const enough = 16; // bytes that are not the same by chance
const compared = 256;

/**
 * Remembers what a serial line said last. The server begins each connection with
 * what was said lately, if others looked meanwhile; what is on the terminal already
 * is not to be there twice.
 */
export class Replay {
  private heard = new Uint8Array(0);

  /** Returns the part of a connection's first piece that is new. */
  first(piece: Uint8Array): Uint8Array {
    const tail = this.heard.subarray(Math.max(0, this.heard.length - compared));
    let fresh = piece;
    if (tail.length >= enough) {
      const at = lastIndexOf(piece, tail);
      if (at >= 0) fresh = piece.subarray(at + tail.length);
    }
    this.next(fresh);
    return fresh;
  }

  /** Remembers a later piece. */
  next(piece: Uint8Array): void {
    const all = new Uint8Array(this.heard.length + piece.length);
    all.set(this.heard);
    all.set(piece, this.heard.length);
    this.heard = all.slice(Math.max(0, all.length - kept));
  }
}

/**
 * Keeps a terminal from answering what was said before it came. A guest that asked
 * where the cursor is had its answer then; another one would be typed into whatever
 * runs there now.
 */
export class Hush {
  private showing = 0;

  get on(): boolean {
    return this.showing > 0;
  }

  /** Is on until show calls what it is given. */
  during(show: (shown: () => void) => void): void {
    this.showing++;
    show(() => {
      this.showing--;
    });
  }
}

function lastIndexOf(all: Uint8Array, part: Uint8Array): number {
  for (let at = all.length - part.length; at >= 0; at--) {
    let i = 0;
    while (i < part.length && all[at + i] === part[i]) i++;
    if (i === part.length) return at;
  }
  return -1;
}

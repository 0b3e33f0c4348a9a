/** Typed arrays from what the kernel sends: views may start at any byte, so they are copied. */

const copy = (view: DataView | undefined): ArrayBuffer => {
  if (!view) return new ArrayBuffer(0);
  const bytes = new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength);
  return bytes.slice().buffer as ArrayBuffer;
};

export const float32 = (view: DataView | undefined): Float32Array => new Float32Array(copy(view));

export const uint16 = (view: DataView | undefined): Uint16Array => new Uint16Array(copy(view));

export const blob = (view: DataView | undefined, type: string): Blob => new Blob([copy(view)], { type });

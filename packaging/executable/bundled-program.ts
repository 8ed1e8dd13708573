// The single executable's own cli/bundled-program.ts: the program is in it, with its compiled code.
import type * as own from '../../cli/bundled-program';

export const bundledProgram: typeof own.bundledProgram = () => undefined;

import { Lazy, TerraformElement, type TerraformResource } from "cdktf";

/**
 * cdktf forgets the configuration object that a generated class was given: what the class does not know is gone without
 * a word, and a boolean attribute in a condition leaves no trace either. The build puts `checkedProvider` around every
 * provider import of this project (scripts/checked-imports.cjs), so that the guard can compare what was asked for with
 * what came out. The classes themselves stay as they are.
 */
const configurations = new WeakMap<TerraformElement, unknown>();

/** A boolean attribute that was read; `used` when it reached the output. */
export interface BooleanRead {
  readonly attribute: string;
  used: boolean;
}

const booleanReads = new WeakMap<TerraformElement, BooleanRead[]>();

type ElementClass = new (...args: unknown[]) => TerraformElement;

const isElementClass = (value: unknown): value is ElementClass =>
  typeof value === "function" && value.prototype instanceof TerraformElement;

/** Records which boolean attributes are read from an element and which of them are resolved. */
function watchBooleans(element: TerraformElement): void {
  const { getBooleanAttribute } = element as TerraformResource;
  if (getBooleanAttribute === undefined) return;
  const reads: BooleanRead[] = [];
  booleanReads.set(element, reads);
  Object.defineProperty(element, "getBooleanAttribute", {
    value: (attribute: string) => {
      const read: BooleanRead = { attribute, used: false };
      reads.push(read);
      const token = getBooleanAttribute.call(element, attribute);
      return Lazy.anyValue({
        produce: () => {
          read.used = true;
          return token;
        },
      });
    },
  });
}

/** A provider module whose element classes remember the configuration of each instance. */
export function checkedProvider<M extends object>(module: M): M {
  const checked = Object.entries(module).map(([name, exported]) => [
    name,
    isElementClass(exported)
      ? new Proxy(exported, {
          construct(target, args: unknown[], newTarget) {
            const element = Reflect.construct(target, args, newTarget) as TerraformElement;
            configurations.set(element, args[2] ?? {});
            watchBooleans(element);
            return element;
          },
        })
      : exported,
  ]);
  return Object.fromEntries(checked) as M;
}

/** The configuration that an element was built with; undefined when it was not built through a checked import. */
export const configurationOf = (element: TerraformElement): unknown => configurations.get(element);

export const booleanReadsOf = (element: TerraformElement): readonly BooleanRead[] =>
  booleanReads.get(element) ?? [];

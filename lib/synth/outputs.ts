import { type TerraformBackend, TerraformOutput, TerraformStack, Token } from "cdktf";
import { type Addressable, addressOf } from "./address";

/** Declares one value that a stack publishes; `T` is its type for readers. */
export interface OutputSpec<T extends string | readonly string[]> {
  readonly kind: T extends string ? "string" : "list";
  readonly description: string;
}

export const text = (description: string): OutputSpec<string> => ({ kind: "string", description });
export const list = (description: string): OutputSpec<readonly string[]> => ({ kind: "list", description });

export type OutputSpecs = Readonly<Record<string, OutputSpec<string> | OutputSpec<readonly string[]>>>;

/** The values that belong to a declaration. */
export type OutputValues<S extends OutputSpecs> = {
  readonly [K in keyof S]: S[K]["kind"] extends "string" ? string : readonly string[];
};

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export interface StackOutputsProps<S extends OutputSpecs> {
  readonly specs: S;
  readonly values: OutputValues<S>;
  /** Backend of the publishing stack; readers find its state through it. */
  readonly backend: TerraformBackend;
  /**
   * What must exist before anyone may use the values, and be destroyed after their use: for example the access entries
   * behind a cluster's end point.
   * @default - nothing
   */
  readonly dependsOn?: readonly Addressable[];
}

/**
 * What crosses from one stack to others: explicit outputs with stable names, which exist whether or not someone reads
 * them. (cdktf's automatic ones vanish with their last reader and then block the apply order, and they lose the sensitive
 * mark.) Nothing secret may be published.
 */
export class StackOutputs<const S extends OutputSpecs> {
  private readonly readers = new Map<TerraformStack, OutputValues<S>>();

  constructor(
    private readonly stack: TerraformStack,
    private readonly props: StackOutputsProps<S>,
  ) {
    for (const [name, spec] of Object.entries(props.specs)) {
      const output = new TerraformOutput(stack, snakeCase(name), {
        description: spec.description,
        staticId: true,
        value: props.values[name],
      });
      if (props.dependsOn) {
        // the typed argument writes "${address}" where OpenTofu wants the bare address
        output.addOverride("depends_on", props.dependsOn.map(addressOf).sort());
      }
    }
  }

  /** The values, for use in another stack: read from the publisher's state, and deployed after it. */
  readBy(consumer: TerraformStack): OutputValues<S> {
    const known = this.readers.get(consumer);
    if (known) return known;
    if (TerraformStack.of(consumer) === this.stack) {
      throw new Error(
        `${this.stack.node.path} reads its own outputs; use the constructs' attributes instead.`,
      );
    }
    consumer.addDependency(this.stack);
    const id = this.stack.node.id;
    const state = this.props.backend.getRemoteStateDataSource(consumer, id, id);
    const values = Object.fromEntries(
      Object.entries(this.props.specs).map(([name, spec]) => [
        name,
        spec.kind === "string" ? state.getString(snakeCase(name)) : Token.asList(state.get(snakeCase(name))),
      ]),
    ) as OutputValues<S>;
    this.readers.set(consumer, values);
    return values;
  }
}

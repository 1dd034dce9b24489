// What can be wrong with a model folder, or with the place where one is to be written.

export type ModelFolderErrorCode =
  | "MODEL_FOLDER_MISSING"
  | "MODEL_FOLDER_UNREADABLE"
  | "MODEL_FOLDER_UNSUPPORTED"
  | "MODEL_FOLDER_NOT_EMPTY"
  | "MODEL_FOLDER_IS_A_FILE";

export class ModelFolderError extends Error {
  readonly code: ModelFolderErrorCode;
  readonly path: string;
  constructor(code: ModelFolderErrorCode, path: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.path = path;
  }
}

/** The folder, or a file that every model folder has, is not there. */
export class ModelFolderMissingError extends ModelFolderError {
  constructor(path: string, cause: string, remedy: string) {
    super("MODEL_FOLDER_MISSING", path, `${path} is no model folder: ${cause}; ${remedy}.`);
  }
}

/** A file that is cut short, or is not what its name says. */
export class ModelFolderUnreadableError extends ModelFolderError {
  constructor(path: string, cause: string, options?: ErrorOptions) {
    super(
      "MODEL_FOLDER_UNREADABLE",
      path,
      `${path} cannot be read: ${cause}; restore it from a whole copy.`,
      options,
    );
  }
}

/** A model of another architecture than the one that is trained here. `field` names the setting or tensor. */
export class ModelFolderUnsupportedError extends ModelFolderError {
  readonly field: string;
  constructor(path: string, field: string, cause: string, remedy: string) {
    super(
      "MODEL_FOLDER_UNSUPPORTED",
      path,
      `The model of ${path} cannot be used: ${field} ${cause}; ${remedy}.`,
    );
    this.field = field;
  }
}

/** Writing would put files among, or in the place of, what is there already. */
export class ModelFolderNotEmptyError extends ModelFolderError {
  constructor(path: string) {
    super(
      "MODEL_FOLDER_NOT_EMPTY",
      path,
      `${path} is not empty: give another folder, or --force to replace the model in it.`,
    );
  }
}

/** Where the folder should be, or on the way to it, is a file. */
export class ModelFolderIsFileError extends ModelFolderError {
  constructor(path: string, options?: ErrorOptions) {
    super(
      "MODEL_FOLDER_IS_A_FILE",
      path,
      `${path} cannot be made a folder, a file is there: give another folder.`,
      options,
    );
  }
}
